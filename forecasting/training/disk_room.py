"""Whether there is room for a version, before the training begins that would end without it."""

from forecasting.errors import StoreNotWritable
from forecasting.model.own_forecaster import make_forecaster
from forecasting.runtime.disk import find_disk_problem
from forecasting.settings.schema import Config

PLOT_BYTES = 390_000
PROGRAM_BYTES = 460_000  # of model.pt2 besides the weights
PARAMETER_BYTES = 4
CARD_BYTES = 2_800  # of model.json for each series
PROGRAM_COPIES = 4  # while the archive is packed: the version's, two on the way, and the archive's


def check_room(config: Config, *, num_series: int) -> None:
    """Raises StoreNotWritable if MODEL_DIR has no room for the version and its archive."""
    num_parameters = sum(parameter.numel() for parameter in make_forecaster(config.model).parameters())
    version = config.version_to_train
    problem = find_disk_problem(
        config.model_dir,
        needs_bytes=estimate_bytes(num_parameters, num_series),
        purpose=f"version {version} and its archive",
        advice="set MODEL_DIR",
    )
    if problem is not None:
        raise StoreNotWritable(f"{problem} Nothing was trained.")


def estimate_bytes(num_parameters: int, num_series: int) -> int:
    """The most that a version takes while it is written and packed."""
    weights = num_parameters * PARAMETER_BYTES
    program_and_card = PROGRAM_BYTES + weights + num_series * CARD_BYTES
    return PLOT_BYTES + weights + PROGRAM_COPIES * program_and_card
