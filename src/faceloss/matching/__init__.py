"""Every pair, exactly, at a fraction of the price of its float32 product; PyTorch, on one core, several, or a GPU.

``pairs`` finds the largest impostor scores of a labelled set (thresholds at the smallest FARs), ``ranks`` counts who
lies ahead of a probe's mate (CMC, distractors), ``nearest`` the best of a gallery of any size, which may be a file
(``gallery``). ``screen`` holds the coarse products and their bounds, ``exact`` the score that decides.
"""
