"""Paired cell inpainting: one function per verb, from crops or fields to findings."""
