package kernel

import "context"

// inRealTime is Prepare for a machine whose clock is that of this one.
func (s *Store) inRealTime(ctx context.Context, q *QEMU, k *Kernel, say func(string)) (*Machine, error) {
	return s.prepare(ctx, q, k, hardware{Accel: "tcg", Memory: memory, Append: kernelArguments}, say)
}
