# Everything this guest executes at CPL0. It is kept this short because some hosts interpret
# CPL0 code, at about 0.6 us for each instruction and without SSE, and run CPL3 natively: so
# the tables are built at compile time (layout.rs) and all Rust runs at CPL3. What CPL3 cannot
# do, it asks for with int3 (see `gate`): the same hosts know no other `int`, and ignore IOPL.
#
# Interrupts stay off at CPL3. They are taken in one place, wait_gate below, so no code here
# saves registers: each gate says which it uses, and cpu.rs declares them.

.set PML4, 0x1000000
.set CPU0, 0x1006000
.set CR0_VALUE, 0x80000033      # PG, NE, ET, MP, PE
.set CR4_VALUE, 0x620           # PAE, OSFXSR, OSXMMEXCPT
.set IA32_EFER, 0xc0000080
.set EFER_LME, 0x100
.set RFLAGS_VALUE, 2            # interrupts off
.set USER_CS, 0x23
.set USER_SS, 0x1b
.set TSS_SELECTOR, 0x28
.set COM1, 0x3f8

# Offsets in cpu::Cpu.
.set CPU_GDTR, 0x46
.set CPU_START, 0x50
.set CPU_STACK, 0x58
.set CPU_SIZE, 0x1000

.section .note.pvh, "a", @note
    .balign 4
    .long 4, 8, 18              # name and descriptor sizes, XEN_ELFNOTE_PHYS32_ENTRY
    .asciz "Xen"
    .quad entry32

.section .boot, "ax", @progbits

# The 64-bit Linux boot protocol: rsi = boot_params. The first byte goes out at once: the time
# until it appears is the time a monitor needs.
.code64
.globl entry64
entry64:
    mov edx, COM1
    mov al, 0x67                # 'g'
    out dx, al
    mov eax, PML4
    mov cr3, rax
    mov eax, CR4_VALUE
    mov cr4, rax
    mov eax, CR0_VALUE
    mov cr0, rax
    xor edx, edx                # for Boot::read: Linux
    mov ecx, CPU0
    jmp enter

# PVH: 32-bit, no paging, ebx = start_info.
.code32
entry32:
    mov edx, COM1
    mov al, 0x67
    out dx, al
    mov esi, ebx
    mov eax, CR4_VALUE
    mov cr4, eax
    mov eax, PML4
    mov cr3, eax
    mov ecx, IA32_EFER
    mov eax, EFER_LME
    xor edx, edx
    wrmsr
    mov eax, CR0_VALUE
    mov cr0, eax
    mov edx, 1                  # for Boot::read: PVH
    mov ecx, CPU0
    lgdt [CPU0 + CPU_GDTR]
    lea esp, [ecx + CPU_SIZE]   # PVH promises no stack
    mov eax, offset enter
    push 0x08
    push eax
    retf

# A started processor, in real mode; copied to layout::TRAMPOLINE by smp.rs, which then says
# in `starting` whose it is.
.code16
.globl trampoline
trampoline:
    cli
    xor ax, ax
    mov ds, ax
    mov eax, CR4_VALUE
    mov cr4, eax
    mov eax, PML4
    mov cr3, eax
    mov ecx, IA32_EFER
    mov eax, EFER_LME
    xor edx, edx
    wrmsr
    mov eax, CR0_VALUE
    mov cr0, eax
    .byte 0x66, 0x0f, 0x01, 0x16    # lgdt, 32-bit, at TRAMPOLINE + (trampoline_gdtr - trampoline)
    .short 0x8000 + (trampoline_gdtr - trampoline)
    .byte 0x66, 0xea                # far jump, 32-bit
    .long entry_started
    .short 0x08
trampoline_gdtr:
    .short 0x37
    .long CPU0
.globl trampoline_end
trampoline_end:

.code64
entry_started:
    mov eax, offset starting
    mov rcx, [rax]

# Leaves CPL0 for the Rust of the processor in rcx, which gets rdi = the processor, and rsi and
# rdx as they are.
enter:
    lgdt [rcx + CPU_GDTR]
    lidt [idt_pointer]
    mov eax, TSS_SELECTOR
    ltr ax
    lea rsp, [rcx + CPU_SIZE]
    push USER_SS
    push [rcx + CPU_STACK]
    push RFLAGS_VALUE
    push USER_CS
    push [rcx + CPU_START]
    mov rdi, rcx
    iretq

# An exception: hands vector, error code, rip, cs and cr2 to trap_report (power.rs) at CPL3, on the
# processor's own stack from its top; nothing returns.
trap:
    pop rdi
    pop rsi
    pop rdx
    pop rcx
    mov r8, cr2
    mov rax, rsp
    and rax, -CPU_SIZE
    push USER_SS
    push [rax + CPU_STACK]
    push RFLAGS_VALUE
    push USER_CS
    mov eax, offset trap_report
    push rax
    iretq

# int3 at CPL3: rax = which of `gates`. One program: nothing is checked.
gate:
    jmp [gates + 8 * rax]

.set GATE_INT3, 9

wait_gate:                      # rcx = Cpu's counters, rdx = local APIC: until an interrupt
    sti
    hlt
    cli
    iretq
cpuid_gate:                     # rcx = leaf; eax to edx = answer
    mov eax, ecx
    xor ecx, ecx
    cpuid
    iretq
write_msr_gate:                 # ecx = register, edx:edi = value
    mov eax, edi
    wrmsr
    iretq
read_port_gate:                 # dx = port; al = value
    in al, dx
    iretq
write_port_gate:                # dx = port, cl = value
    mov al, cl
    out dx, al
    iretq
write_port16_gate:              # dx = port, cx = value
    mov eax, ecx
    out dx, ax
    iretq
print_gate:                     # rsi, rcx <= 16 bytes, rdx = COM1's line status
    in al, dx
    test al, 0x20               # transmitter empty: it takes 16 bytes
    jz print_gate
    mov edx, COM1
    rep outsb
    iretq
ud2_gate:
    ud2
int3_gate:
    mov eax, GATE_INT3
    int3
int3_taken:
    push 0
    push 3
    jmp trap
triple_fault_gate:              # rcx = ten zero bytes, as an IDT
    lidt [rcx]
    ud2

# Vector v's code is at `vectors` + 16 v (layout.rs builds the IDT from that).
.section .vectors, "ax", @progbits
.globl vectors
vectors:

# 0x00-0x1f: exceptions.
.set v, 0
.rept 32
    .balign 16, 0xcc
    .if v == 3
    jmp gate
    .else
    .if (v == 8) || ((v >= 10) && (v <= 14)) || (v == 17) || (v == 21) || (v == 29) || (v == 30)
    .else
    push 0                      # in the place of an error code
    .endif
    .byte 0x6a, v               # push v
    jmp trap
    .endif
    .set v, v + 1
.endr

# 0x20-0x22: device, timer and wake-up interrupts, with wait_gate's registers. Count, then end
# of interrupt.
.irp counter, 0, 8, 16
    .balign 16, 0xcc
    inc qword ptr [rcx + \counter]
    mov dword ptr [rdx + 0xb0], 0
    iretq
.endr

# 0x23: spurious.
    .balign 16, 0xcc
    iretq

.section .rodata, "a", @progbits
    .balign 8
gates:
    .quad wait_gate, cpuid_gate, write_msr_gate, read_port_gate, write_port_gate
    .quad write_port16_gate, print_gate, ud2_gate, int3_gate, int3_taken, triple_fault_gate
idt_pointer:
    .short 0x23f
    .quad 0x1007000
