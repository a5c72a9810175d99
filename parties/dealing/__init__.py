"""The dealer: it creates preparations and streams each of them once to each party."""
