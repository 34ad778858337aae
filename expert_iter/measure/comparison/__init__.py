"""Methods compared at equal bill: the plays, the standings, tables and pictures."""
