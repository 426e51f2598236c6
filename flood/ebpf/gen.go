package ebpf

// The objects are committed: building, testing and running need no compiler for BPF.
// `make generate` says which packages of Debian have it. Version 14 of clang is what
// Debian 12 ships; the multiarch folder holds asm/types.h, which all architectures share.

//go:generate go tool bpf2go -target bpfel,bpfeb -cc clang -strip llvm-strip -no-global-types -type network_key -type network -type target -type block -type handover -type place_key -type heard_key -type state -type rest -type reason program flood.bpf.c -- -O2 -mcpu=v3 -Wall -Werror -I/usr/include/x86_64-linux-gnu -I/usr/include/aarch64-linux-gnu
