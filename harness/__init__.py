"""faultline: what user space sees when a memory access goes wrong, arch by arch."""

__version__ = "0.1.0"
