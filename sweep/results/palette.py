"""The colour of every arm, the same in figures and on MLflow's pages.

Colours are those of Okabe and Ito (2008) and Tol's muted and dark sets, which stay apart under the common colour
blindnesses as far as so many can; those that come near each other have different markers (`dashboards.theme`).
"""

from __future__ import annotations

from collections.abc import Iterable

# In the order in which figures list them.
ARMS = {
    "backprop": "#D55E00",
    "sgd": "#D55E00",
    "adam": "#E69F00",
    "standard_adam": "#E69F00",
    "equal_betas": "#882255",
    "adamw": "#882255",
    "l2": "#009E73",
    "shrink_and_perturb": "#CC79A7",
    "snp": "#CC79A7",
    "continual_backprop": "#0072B2",
    "cbp": "#0072B2",
    "continual_backprop_l2": "#0072B2",
    "adamo": "#56B4E9",
    "coupled_isometry": "#999933",
    "muon": "#661100",
    "muon_isometry": "#663333",
    "upgd": "#44AA99",
    "l2_init": "#117733",
    "parseval": "#AA4499",
    "spectral_regularisation": "#6699CC",
    "weight_clipping": "#B8860B",
    "normalise_and_project": "#888888",
    "fire": "#000000",
    "redo": "#DDCC77",
    "redo_l2": "#DDCC77",
    "reset": "#CC6677",
    "input_normaliser": "#BBBBBB",
    "gradient_clipping": "#225522",
    "layer_norm": "#666633",
    "crelu": "#225555",
    "fourier": "#EE8866",
    "head_reset": "#E69F00",
    "retrained": "#4D4D4D",
    "linear": "#4D4D4D",
    "cbp_adamo": "#332288",
    "continual_backprop_adamo": "#332288",
}
# What a user's own arms take first, wherever the known arm of that colour is not shown.
SPARE = ("#661100", "#000000", "#AA4499", "#44AA99", "#888888", "#6699CC", "#B8860B", "#117733")
# Where there are more arms than these, colours of known arms that are not among them.
ALL = tuple(dict.fromkeys([*SPARE, *ARMS.values()]))


def colors(arms: Iterable[str]) -> dict[str, str]:
    """A colour for every arm, no two alike while there are spare ones. Known arms have theirs, the first of two alike.

    Other labels, such as a user's own arms, take free ones in the order in which they are given.
    """
    places = list(ARMS)
    names = sorted(dict.fromkeys(arms), key=lambda name: places.index(name) if name in ARMS else len(places))
    color_of: dict[str, str] = {}
    for name in names:
        own = ARMS.get(name)
        if own is None or own in color_of.values():
            taken = [*color_of.values()]
            own = min(ALL, key=taken.count)  # the first of those least used
        color_of[name] = own
    return color_of
