"""Samplers of classes for sampled losses: NumPy arrays in and out, for every framework.

>>> import xent
>>> sampler = xent.samplers.LogUniform(range_max=1000, num_sampled=3, seed=7)
>>> ids, true_expected_count, sampled_expected_count = sampler.sample([[12], [345]])
>>> ids
array([411,   0,  23])
"""

from .sampling.hits import AccidentalHits, accidental_hits
from .sampling.ranges import AllCandidates, LogUniform, Uniform
from .sampling.sampler import Candidates, Sampler, State
from .sampling.unigram import LearnedUnigram, Unigram

__all__ = [
    "AccidentalHits",
    "AllCandidates",
    "Candidates",
    "LearnedUnigram",
    "LogUniform",
    "Sampler",
    "State",
    "Uniform",
    "Unigram",
    "accidental_hits",
]
