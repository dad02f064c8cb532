"""Judgements: what replies of a host mean for this library. Values only, without I/O."""
