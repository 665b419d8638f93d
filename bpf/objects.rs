// The BPF objects: name, source, and what is defined for it. Included by whatever compiles them.
[
    ("typed", "bpf/ringwatch.bpf.c", &["-DRW_TYPED"]),
    ("raw", "bpf/ringwatch.bpf.c", &[]),
    ("early", "bpf/early.bpf.c", &["-DRW_EARLY"]),
    ("rings", "bpf/rings.bpf.c", &[]),
]
