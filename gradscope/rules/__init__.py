"""One rule a file: the illness it recognises, why, and where its thresholds come from."""
