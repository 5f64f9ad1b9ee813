"""The commands of ``trunkline contracts``, one module for each job."""
