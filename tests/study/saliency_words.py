"""What the page of the study says in words, and the figures that were typed in."""

REPLICATED = {
    "dip, probability; m 1 (most similar)": ("9.84 / 7 / 28.8", ".504"),
    "dip, probability; m 5, best p": ("6.07 / 4 / 17.8", ".486"),
    "dip, probability; m 10, best p": ("5.38 / 4 / 15.8", ".469"),
    "dip, probability; m 10, log p and cosine": ("5.94 / 4 / 18.8", ".488"),
    "dip, probability; m 98, best p": ("3.35 / 3 / 8", ".367"),
    "exact, logit; m 10, best p": ("5.12 / 4 / 15", ".482"),
    "exact, margin; m 10, best p": ("4.91 / 4 / 12", ".424"),
    "random cell; m 10": ("9.19", ".375"),
    "random cell; m 1": ("17.5", ".439"),
    "all pairs, in the manner of Goyal, 1 reference": ("4.82 / 4 / 12.8", ".154"),
    "all pairs, in the manner of Goyal": ("2.89 / 2 / 6", ".170"),
}
AREAS_REPLICATED = {
    "Shapley values of the probability, 200 orders": ".267 / .041",
    "exact, logit (CAM)": ".264 / .041",
    "dip, probability": ".260 / .043",
    "dip, logit": ".257 / .043",
    "norm of the cell": ".246 / .045",
    "wrong less true class (as in Finer-CAM)": ".190 / .058",
    "in the manner of SCOUT, without easiness": ".194 / .064",
    "random, mean of 5": ".116 / .118",
}
PIXELS_REPLICATED = {
    "exact, logit (CAM)": ".278 / .077",
    "dip, probability": ".299 / .081",
    "wrong less true class (as in Finer-CAM)": ".258 / .118",
    "random": ".193 / .173",
}
SPEARMAN_REPLICATED = {"the same, drawn again": ".998", "exact, logit": ".970", "dip, probability": ".920",
                       "dip, logit": ".910"}  # fmt: skip
"""From the independent replication, sections 6.2, 6.4 and 4."""

HEAD = """# Saliency partition: what this product finds beside what was published

This product implements saliency partition (FG-VCE) as publicly described. No figure, equation or table of the paper was
seen; what is not described is a choice of ours (table `choices` of every audit). Nothing here claims to reproduce the
paper's numbers.

* **Paper**: Zhang, Yin, Lee, arXiv 2511.07974.
* **Replication**: an independent replication of the description, not by the authors and not with this code, on 125
  misread pictures of 500 queries.
* **Ours**: this product, computed by `make study-saliency`.

**Case.** EfficientNet-Lite0 with its published weights, pictures of 224 pixels, feature maps of 1280 x 7 x 7, a mean
over cells and one layer. Pictures: ImageWoof (ten breeds of dogs of ImageNet). The method's description names 500
queries from ImageNet's validation set and 400 references from its training set. **Here are {queries} of the 500 queries
and {references} references**; so {misread} misread pictures, not 125, and wider intervals. A picture is mended when the
true class wins among all 1,000. Pools hold up to {pool} rightly read references of the true class. Intervals are
percentile bootstraps over pictures (2,000 resamples, 95 %); differences are paired by picture.

The head was probed: linear after pooling is {linear}; closed form and head differ by at most {gap:.1e}.
"""

PAPER_NUMBERS = """## Numbers of the paper that could not be checked

| where | what | number |
|---|---|---|
| CUB-200-2011, network unknown | insertion | 43.02 % |
| same | deletion | 10.27 % |
| same | compact activation score (its formula and direction are unknown) | 9.53 |
| Stanford Dogs | all | not obtainable |

They stand in a secondary summary alone. CUB and Stanford Dogs, and networks trained on them, are not here; ImageWoof
shares the source of its pictures with Stanford Dogs but is another data set. None of these numbers may be set beside
ours: not insertion and deletion (the protocol is unknown), and not our `compactness`, which is another measure.
"""

CLAIMS = """## What is never claimed

That numbers on CUB or Stanford Dogs are reproduced; that `compactness` can be compared with 9.53; that 43.02 or 10.27
are aims; that parts are found as people name them (there are no keypoints here); that the dip is better than CAM. The
dip is no Shapley value; with the logit as payoff, Shapley values of this head are CAM divided by the number of cells.
A swap lives in the space of features, where cells look at large parts of the picture; that it mends shows what suffices
for this network, and no cause in the world.
"""
