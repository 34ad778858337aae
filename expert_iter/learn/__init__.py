"""From finished searches to a better network: targets, replay, losses and the learner."""
