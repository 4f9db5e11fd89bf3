"""Pipelines at work: stages that compute here, pipelines led from here, and requests that entered here."""
