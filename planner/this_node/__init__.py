"""What the machine that this runs on has, read from sysfs and procfs alone.

kernel_words.py  one text of the kernel becomes one value, or BadQuantity
sysfs.py         the one edge: files and links below a root, read strictly; what is not understood is kept, not raised
pci.py           where a device stands in the PCI tree
memories.py, gpus.py, rdma.py, networks.py  one subject each
reading.py       all of it: `read_this_node`
inventory.py     what comes of it: plain values
distance.py      how far apart two PCI devices are, in the words of `nvidia-smi topo`
fragment.py, wires.py  the node's entry in a description
summary.py       the same as plain JSON values
"""
