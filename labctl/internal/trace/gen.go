package trace

//go:generate go run github.com/cilium/ebpf/cmd/bpf2go -go-package trace -target bpfel observe observe.bpf.c
