"""Countdown with three numbers: the quick start.

    python -m expert_iter.train --config=configs/countdown.py --workdir=runs/countdown
"""

from expert_iter.config import default_config


def get_config():
    config = default_config("countdown")
    return config
