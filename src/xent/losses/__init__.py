"""Losses on memory of the CPU: arguments checked, coefficients made, kernel ready; the front-ends only convert.

A loss object is what a front-end calls for the value and, as often as it likes, for gradients.
"""
