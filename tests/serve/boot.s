# A boot sector that tests the disk it was read from, through the firmware's driver: copies sectors
# 8 to 15 to 64, reads these back, compares, and ends QEMU through its debug-exit port: with status
# 49 where they are the same, 65 where they are not.
#
#   as --32 boot.s -o boot.o && objcopy -O binary boot.o boot.bin

.equ base, 0x7c00                       # where the firmware puts it
.equ first, 0x8000                      # where sectors 8 to 15 go
.equ again, 0xa000                      # where they go the second time

.code16
start:
    cli
    xor %ax, %ax
    mov %ax, %ds
    mov %ax, %es
    mov %ax, %ss
    mov $base, %sp
    sti
    mov %dl, drive - start + base

    movw $first, buffer - start + base
    movl $8, sector - start + base
    mov $0x42, %ah                      # read
    call disk
    movl $64, sector - start + base
    mov $0x43, %ah                      # write
    call disk
    movw $again, buffer - start + base
    mov $0x42, %ah
    call disk

    mov $first, %si
    mov $again, %di
    mov $4096, %cx
    cld
    repe cmpsb
    jne fail
    mov $0x18, %al                      # QEMU makes 2 * 0x18 + 1 of it
    jmp end

disk:
    mov $0, %al
    mov drive - start + base, %dl
    mov $packet - start + base, %si
    int $0x13
    jc fail
    ret

fail:
    mov $0x20, %al
end:
    mov $0xf4, %dx
    out %al, %dx
    hlt

drive:  .byte 0
packet: .byte 16, 0
        .word 8                         # sectors
buffer: .word 0, 0
sector: .long 0, 0

.org 510
.word 0xaa55
