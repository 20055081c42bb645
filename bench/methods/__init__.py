"""One file per contrastive method: a literal `CARD`, one final `Method`, and `METHOD = ItsClass`."""
