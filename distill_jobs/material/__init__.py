"""What frozen networks make of a data set, computed once and kept by content: latents, embeddings, trajectories."""
