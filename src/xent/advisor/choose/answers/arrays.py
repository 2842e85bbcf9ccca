"""The arguments that the calls share."""

from __future__ import annotations

from ..recipe import Array

LOGITS = Array("scores", ("N", "C"), "one score a class, before any softmax or sigmoid")
ONE_LOGIT = Array("scores", ("N",), "one score an example, before any sigmoid")
INDICES = Array("index", ("N",), "the class of each row, 0 to C-1, integers")
DISTRIBUTIONS = Array("distribution", ("N", "C"), "a probability for each class, floats whose rows sum to 1")
PROBABILITIES = Array("probabilities", ("N", "C"), "probabilities whose rows sum to 1")
YES_OR_NO = Array("binary", ("N",), "0 or 1, floats")
MULTI_HOT = Array("binary", ("N", "C"), "1 for each class that is right, else 0, floats")
CLASS_WEIGHT = Array("weights", ("C",), "for example N / (C * counts), at most about 10 times the mean")
LOG_PRIOR = Array("log_prior", ("C",), "log(counts / counts.sum()), counts of the classes in the training data")
POS_WEIGHT = Array("weight", (), "a number: negatives / positives, or its square root to be gentle")
POS_WEIGHTS = Array("weights", ("C",), "negatives / positives of each class, or its square root to be gentle")
INPUTS = Array("scores", ("N", "D"), "the input of the output layer")
WEIGHT = Array("scores", ("C", "D"), "the weight of the output layer")
BIAS = Array("scores", ("C",), "the bias of the output layer")
TOP_CLASSES = Array("top_classes", ("N", "k"), "the k most probable classes of each label")
TOP_MASSES = Array("top_masses", ("N", "k"), "their probabilities")
POSITIVES = Array("positives", ("N", "k"), "the classes that are right, filled up with -1")
CANDIDATES = Array(
    "candidates", (), "the sample: xent.samplers.LogUniform(range_max=C, num_sampled=1024).sample(labels)"
)
HIDDEN = Array("scores", ("B", "T", "D"), "the input of the output layer at each token")
TOKENS = Array("tokens", ("B", "T"), "the text, -100 where there is padding")
IMAGE_LOGITS = Array("scores", ("N", "C", "H", "W"), "scores with the classes on axis 1, as PyTorch has them")
TEMPERATURE = Array("temperature", (), "the temperature, usually 2 to 5, for teacher and student alike")
