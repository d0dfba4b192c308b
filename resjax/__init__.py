"""resjax: what does depth do to a network? Deep residual learning (He et al., 2015) in JAX."""

__version__ = "0.2.0"
