// Custom calls of XLA, which are there only where its headers were.
#pragma once

#include <nanobind/nanobind.h>

// Names and handlers.
nanobind::dict xla_calls();
