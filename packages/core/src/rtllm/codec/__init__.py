"""JSON on the wire: items and settings in, frames and events out."""
