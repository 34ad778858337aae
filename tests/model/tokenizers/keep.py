def keep(tokenizer, folder):
    """Puts a tokenizer's one file into a new folder, as a run does. Returns its path."""
    folder.mkdir()
    path = folder / tokenizer.file_name
    path.write_bytes(tokenizer.file)
    return path
