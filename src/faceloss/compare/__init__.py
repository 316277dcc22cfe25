"""A comparison: the losses times the seeds, under one recipe, judged on the same identities, kept as flat records."""
