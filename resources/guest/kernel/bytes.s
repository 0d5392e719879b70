# The functions on bytes that compiled Rust calls by their C names.

.macro function name
    .section .text.\name, "ax", @progbits
    .globl \name
\name:
.endm

function memcpy
    mov rax, rdi
    mov rcx, rdx
    rep movsb
    ret

function memmove
    mov rax, rdi
    mov rcx, rdx
    mov r8, rdi
    sub r8, rsi
    cmp r8, rdx
    jb memmove_down                 # the destination begins within the source
    rep movsb
    ret
memmove_down:
    lea rdi, [rdi + rdx - 1]
    lea rsi, [rsi + rdx - 1]
    std
    rep movsb
    cld
    ret

function memset
    mov r8, rdi
    mov eax, esi
    mov rcx, rdx
    rep stosb
    mov rax, r8
    ret

function memcmp
.globl bcmp
bcmp:
    xor eax, eax
    xor r8d, r8d
    mov rcx, rdx
    test rcx, rcx
    jz memcmp_equal
    repe cmpsb
    je memcmp_equal
    movzx eax, byte ptr [rdi - 1]
    movzx r8d, byte ptr [rsi - 1]
    sub r8d, eax
    mov eax, r8d
memcmp_equal:
    ret

function strlen
    xor eax, eax
strlen_next:
    cmp byte ptr [rdi + rax], 0
    je strlen_end
    inc rax
    jmp strlen_next
strlen_end:
    ret
