"""Numbers, where too high and too low do not cost the same."""

from __future__ import annotations

from .. import cost
from ..recipe import Array, Avoid, Call, Leaf, none, recipe

_BY_HAND = "As its formula; no function of its own."

REGRESSION = Leaf(
    title="A number, asymmetric cost",
    loss="pinball_loss",
    arrays={
        "pred": Array("scores", ("N",), "predictions"),
        "target": Array("scores", ("N",), "what they should be"),
    },
    recipe=recipe(
        "1 per unit too high, 10 per unit too low",
        xent="xent.pinball_loss(pred, target, over=1.0, under=10.0)",
        torch=Call("torch.maximum(1.0 * (pred - target), 10.0 * (target - pred)).mean()", _BY_HAND),
        tensorflow=Call("tf.reduce_mean(tf.maximum(1.0 * (pred - target), 10.0 * (target - pred)))", _BY_HAND),
        keras=Call(
            """
                keras.ops.mean(keras.ops.maximum(
                    1.0 * (pred - target), 10.0 * (target - pred)))
            """,
            _BY_HAND,
        ),
        optax=Call("jnp.maximum(1.0 * (pred - target), 10.0 * (target - pred)).mean()", _BY_HAND),
    ),
    also=(
        recipe(
            "equal costs: the mean absolute error, which gives the median",
            xent="xent.pinball_loss(pred, target, over=1.0, under=1.0)",
            torch="F.l1_loss(pred, target)",
            tensorflow=none("Use Keras'."),
            keras="keras.losses.MeanAbsoluteError()(target, pred)",
            optax=Call("jnp.abs(pred - target).mean()", _BY_HAND),
        ),
    ),
    why=(
        "Its minimum is the quantile under / (over + under) of the target: 10 : 1 gives the quantile 0.91.",
        "Give the costs as they are, in money or in hours; only their ratio moves the minimum.",
    ),
    avoid=(
        Avoid("the squared error", "it gives the mean, whatever the errors cost"),
        Avoid("cross-entropy of binned targets", "it does not know that neighbouring bins are nearly right"),
    ),
    cost=cost.column,
)
