// Calls prepared by layout and options, for batches so small that Python's own work is most of the time: all that a call
// brings is addresses.
#pragma once

#include <nanobind/nanobind.h>
#include <nanobind/stl/vector.h>

void add_prepared(nanobind::module_& m);
