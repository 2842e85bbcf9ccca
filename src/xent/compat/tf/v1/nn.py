"""`tf.compat.v1.nn`: `tf.nn`, with more samplers, and a softmax cross-entropy whose labels get no gradient."""

from ..nn import (
    all_candidate_sampler,
    compute_accidental_hits,
    fixed_unigram_candidate_sampler,
    learned_unigram_candidate_sampler,
    log_softmax,
    sigmoid,
    sigmoid_cross_entropy_with_logits,
    softmax,
    softmax_cross_entropy_with_logits_v2,
    sparse_softmax_cross_entropy_with_logits,
    weighted_cross_entropy_with_logits,
)
from ..nn import softmax_cross_entropy_with_logits_v1 as softmax_cross_entropy_with_logits
from ..random import log_uniform_candidate_sampler, uniform_candidate_sampler
from ..sampled import nce_loss_v1 as nce_loss
from ..sampled import sampled_softmax_loss_v1 as sampled_softmax_loss

__all__ = [
    "all_candidate_sampler",
    "compute_accidental_hits",
    "fixed_unigram_candidate_sampler",
    "learned_unigram_candidate_sampler",
    "log_softmax",
    "log_uniform_candidate_sampler",
    "nce_loss",
    "sampled_softmax_loss",
    "sigmoid",
    "sigmoid_cross_entropy_with_logits",
    "softmax",
    "softmax_cross_entropy_with_logits",
    "softmax_cross_entropy_with_logits_v2",
    "sparse_softmax_cross_entropy_with_logits",
    "uniform_candidate_sampler",
    "weighted_cross_entropy_with_logits",
]
