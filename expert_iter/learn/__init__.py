"""From finished searches to a better network: objectives, replay and the learner."""
