#include "textflag.h"

// func out(port uint16, b []byte)
TEXT ·out(SB), NOSPLIT, $0-32
	MOVW port+0(FP), DX
	MOVQ b_base+8(FP), SI
	MOVQ b_len+16(FP), CX
	CLD
	BYTE $0xF3; BYTE $0x6E // rep outsb
	RET

// func in(port uint16, b []byte)
TEXT ·in(SB), NOSPLIT, $0-32
	MOVW port+0(FP), DX
	MOVQ b_base+8(FP), DI
	MOVQ b_len+16(FP), CX
	CLD
	BYTE $0xF3; BYTE $0x6C // rep insb
	RET

// func out2(port, value uint16)
TEXT ·out2(SB), NOSPLIT, $0-4
	MOVW port+0(FP), DX
	MOVW value+2(FP), AX
	BYTE $0x66; BYTE $0xEF // outw
	RET
