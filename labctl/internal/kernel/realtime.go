package kernel

import (
	"context"
	"crypto/sha256"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"
)

// kvmTime is what a kernel may take to be ready where KVM runs it: it takes a second.
const kvmTime = 20 * time.Second

const refusedPrefix = "no-kvm-"

// inRealTime is Prepare for a machine whose clock is that of this one: with KVM, if
// that runs the kernel here. Whether it does is found out by trying, once: it may be
// there and hang.
func (s *Store) inRealTime(ctx context.Context, q *QEMU, k *Kernel, say func(string)) (*Machine, error) {
	kvm := hardware{Accel: "kvm", Memory: memory, Append: kernelArguments, patience: kvmTime}
	without := hardware{Accel: "tcg", Memory: memory, Append: kernelArguments}
	f, err := os.OpenFile("/dev/kvm", os.O_RDWR, 0)
	if err != nil {
		return s.prepare(ctx, q, k, without, say)
	}
	f.Close()
	refused := filepath.Join(s.prepared(), fmt.Sprintf("%s%x", refusedPrefix, sha256.Sum256([]byte(k.Digest+q.Version)))[:24])
	if _, err := os.Stat(refused); err == nil {
		return s.prepare(ctx, q, k, without, say)
	}
	m, err := s.prepare(ctx, q, k, kvm, say)
	if err == nil || ctx.Err() != nil {
		return m, err
	}
	why, _, _ := strings.Cut(err.Error(), "\n")
	say("KVM does not run this kernel here, so QEMU does it alone: " + why)
	if err := os.WriteFile(refused, []byte(err.Error()+"\n"), 0o666); err != nil {
		return nil, fmt.Errorf("remember that KVM does not run kernel %s: %w", k.Release, err)
	}
	return s.prepare(ctx, q, k, without, say)
}
