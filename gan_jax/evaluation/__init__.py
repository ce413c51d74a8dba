"""How samples are judged: the protocol, its scores, and what is written and drawn of them."""
