// The samplers of classes, for Python.
#pragma once

#include <nanobind/nanobind.h>

void add_samplers(nanobind::module_& m);
