"""Where Hydra looks for plugins; as launchers its configuration may name classes of this namespace package alone."""

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
