"""The version of innerloop."""

VERSION = "0.1.0"
