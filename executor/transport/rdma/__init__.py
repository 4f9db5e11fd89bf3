"""Moving blobs by one-sided writes: RDMA verbs, through pyverbs, on real devices and on Soft-RoCE."""
