"""Other ways to compute the recurrent layer, with which the benchmarks compare the engines."""
