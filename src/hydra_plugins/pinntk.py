"""Where Hydra looks for launchers, its configuration may name classes of this namespace package alone, and for other
plugins."""

from pinntk.launch import clusters, composition, launchers


class InTurn(launchers.InTurn):
    """``hydra/launcher=basic``"""


class Local(launchers.Local):
    """``hydra/launcher=local``"""


class Gpus(launchers.Gpus):
    """``hydra/launcher=gpus``"""


class Slurm(clusters.Slurm):
    """``hydra/launcher=slurm``"""


class Ray(clusters.Ray):
    """``hydra/launcher=ray``"""


class OwnFirst(composition.OwnFirst):
    """``--config-dir``"""
