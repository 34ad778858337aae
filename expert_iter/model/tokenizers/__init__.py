"""Text to token ids and back: SentencePiece and byte-level BPE."""
