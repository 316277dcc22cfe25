"""The recipe: everything about training that is the same for every loss that is compared."""

from typing import Annotated, Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

Positive = Annotated[float, Field(gt=0, allow_inf_nan=False)]
NotNegative = Annotated[float, Field(ge=0, allow_inf_nan=False)]
Count = Annotated[int, Field(ge=1)]

# How batches are composed. A loss wants one of the first two; a comparison with balance has the others too.
Batches = Literal["shuffled", "identity-balanced", "group-balanced", "identity- and group-balanced"]


def identity_balanced(batches: Batches) -> bool:
    """Whether each batch is of P identities with K images each, be the identities balanced by group or not."""
    return batches in ("identity-balanced", "identity- and group-balanced")


class Frozen(BaseModel):
    """A value that cannot be changed and refuses a key it does not know."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


class Augment(Frozen):
    """Strengths of the light augmentation (``faceloss.data.augment``); all 0 leaves a crop as it is."""

    flip: Annotated[float, Field(ge=0, le=1)] = 0.5  # probability
    shift: Annotated[float, Field(ge=0, le=0.5)] = 0.06  # of the side, each way
    brightness: Annotated[float, Field(ge=0, le=1)] = 0.2
    contrast: Annotated[float, Field(ge=0, le=1)] = 0.2
    color: Annotated[float, Field(ge=0, le=1)] = 0.05
    zoom: Annotated[float, Field(ge=0, le=0.5)] = 0.0  # each way
    rotation: Annotated[float, Field(ge=0, le=180)] = 0.0  # degrees, each way
    erase: Annotated[float, Field(ge=0, le=1)] = 0.0  # probability


class Recipe(Frozen):
    """Network, budget, optimizer and schedule of one run. Equal for every loss of a comparison."""

    net: str = "small"
    net_options: dict[str, Any] = {}
    dim: Count = 128
    size: Annotated[int, Field(ge=16, le=512)] = 64  # pixels, square RGB crops
    epochs: Count = 12
    batch: Annotated[int, Field(ge=2)] = 64
    images_per_identity: Annotated[int, Field(ge=2)] = 4  # K of the P x K batches; P = batch // K
    # Of streamed faces, how many archives are shuffled among each other at a time; 0 = all images, wherever they lie.
    shard_window: Annotated[int, Field(ge=0)] = 0
    optimizer: Literal["sgd", "adamw"] = "sgd"
    learning_rate: Positive = 0.1
    momentum: Annotated[float, Field(ge=0, lt=1)] = 0.9
    weight_decay: NotNegative = 5e-4
    schedule: Literal["cosine", "step"] = "cosine"
    step_epochs: tuple[float, ...] = ()  # epochs at which the step schedule multiplies by step_factor
    step_factor: Positive = 0.1
    warmup_epochs: NotNegative = 1.0
    clip: NotNegative = 5.0  # largest norm of the gradient; 0 = no clipping
    precision: Literal["auto", "fp32", "bf16"] = "auto"  # of the network
    # Of the products of batch and class vectors; their sums, the target and all else of a loss stay in float32.
    head_precision: Literal["fp32", "bf16"] = "fp32"
    device: str = "auto"
    threads: Count = 1  # of one run; part of the recipe because sums in another order have other last bits
    flip_test: bool = True  # embedding of a test image = sum of its own and its mirror image's
    augment: Augment = Augment()
    checkpoint_seconds: NotNegative = 60.0  # between checkpoints inside an epoch; every epoch ends with one

    @model_validator(mode="after")
    def _possible(self) -> Self:
        if self.batch < 2 * self.images_per_identity:
            raise ValueError(
                f"a batch of {self.batch} cannot hold two identities with {self.images_per_identity} images each; "
                "raise batch or lower images_per_identity"
            )
        if self.schedule == "step" and not self.step_epochs:
            raise ValueError("the step schedule needs step_epochs, for example step_epochs=6,9")
        return self

    @property
    def identities_per_batch(self) -> int:
        """P of the P x K batches."""
        return self.batch // self.images_per_identity
