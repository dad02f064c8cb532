"""Probes: requests to a host, whose replies are judged in `rtllm.doctor.judgements`."""
