"""Planning: reach a goal by moves that a world answers."""
