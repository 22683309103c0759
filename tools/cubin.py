"""Reads GPU machine code out of compiled objects, without a disassembler: which kernels, how large, what they use."""
import collections
import re
import struct

ARCHITECTURES = "90a", "100a"  # those that kernels are compiled for, unless a build names fewer
FATBIN_MAGIC = 0xBA55ED50
KIND_ELF = 2
COMPRESSED = 0x2000 | 0x8000  # flags of an entry: LZ4, zstd
RESERVED_SHARED_BYTES = 1024  # the system's, before a block's own
INSTRUCTION_BYTES = 16
OPCODE_MASK = 0xFFF           # the low bits of an instruction
TRAP, STORE_LOCAL, LOAD_LOCAL = 0x95C, 0x387, 0x983  # BPT, STL, LDL; tests/objects/no_traps.py shows that they are
EIATTR_REGISTERS, EIATTR_STACK = 0x2F, 0x12  # of a kernel and all that it calls

Section = collections.namedtuple("Section", "name kind offset size link info")
# arch: such as "sm_90a"; compiler: the compiler's build; name: mangled; code: the bytes of the instructions
Kernel = collections.namedtuple("Kernel", "arch compiler name registers stack_bytes static_shared_bytes code")


def elf_sections(elf):
    """The sections of a 64-bit ELF file."""
    if elf[:4] != b"\x7fELF" or elf[4] != 2:
        raise ValueError("this is no 64-bit ELF file")
    (begin,) = struct.unpack_from("<Q", elf, 40)
    size, count, names = struct.unpack_from("<HHH", elf, 58)
    raw = [struct.unpack_from("<IIQQQQIIQQ", elf, begin + i * size) for i in range(count)]
    strings = raw[names][4]
    sections = []
    for name, kind, _, _, offset, length, link, info, _, _ in raw:
        end = elf.index(b"\0", strings + name)
        sections.append(Section(elf[strings + name:end].decode(), kind, offset, length, link, info))
    return sections


def cubins_of(fatbin, path):
    """The ELF images in the bytes of a section .nv_fatbin."""
    at = 0
    while at + 16 <= len(fatbin):
        magic, _, header_bytes, body_bytes = struct.unpack_from("<IHHQ", fatbin, at)
        if magic != FATBIN_MAGIC:
            at += 8  # padding between two
            continue
        entry, end = at + header_bytes, at + header_bytes + body_bytes
        while entry < end:
            kind, _, entry_header, length = struct.unpack_from("<HHIQ", fatbin, entry)
            (flags,) = struct.unpack_from("<Q", fatbin, entry + 40)
            if kind == KIND_ELF:
                if flags & COMPRESSED:
                    raise ValueError(f"{path}: its GPU code is compressed: compile with --no-compress")
                yield fatbin[entry + entry_header:entry + entry_header + length]
            entry += entry_header + length
        at = end


def attributes(elf, sections, wanted):
    """A number that .nv.info has of functions, by the index of their symbols."""
    values = {}
    for section in sections:
        if section.name != ".nv.info":
            continue
        at, end = section.offset, section.offset + section.size
        while at < end:
            form, attribute, length = struct.unpack_from("<BBH", elf, at)
            if form == 4 and attribute == wanted:
                symbol, value = struct.unpack_from("<II", elf, at + 4)
                values[symbol] = value
            at += 4 + (length if form == 4 else 0)
    return values


def said_of_tools(elf, sections, what, pattern):
    """What the tools that made this code say of themselves."""
    for section in sections:
        if section.name == ".note.nv.tkinfo":
            if match := re.search(pattern, elf[section.offset:section.offset + section.size]):
                return match.group(1).decode()
    raise ValueError(f"GPU code that does not say its {what}")


def arch_of(elf, sections):
    """The architecture as the assembler was told it; the file's header has only its number."""
    return said_of_tools(elf, sections, "architecture", rb"-arch[ =](sm_\w+)")


def kernels_of_cubin(elf):
    sections = elf_sections(elf)
    arch = arch_of(elf, sections)
    compiler = said_of_tools(elf, sections, "compiler", rb"Build (cuda_[\w./]+)")
    registers = attributes(elf, sections, EIATTR_REGISTERS)
    stacks = attributes(elf, sections, EIATTR_STACK)
    shared = {s.name[len(".nv.shared."):]: s.size for s in sections if s.name.startswith(".nv.shared.")}
    for section in sections:
        if not section.name.startswith(".text.") or section.info not in registers:
            continue
        name = section.name[len(".text."):]
        code = elf[section.offset:section.offset + section.size]
        near = max(0, shared.get(name, 0) - RESERVED_SHARED_BYTES)
        yield Kernel(arch, compiler, name, registers[section.info], stacks.get(section.info, 0), near, code)


def kernels_of(path):
    """All kernels of an object file, of every architecture that it was compiled for."""
    with open(path, "rb") as file:
        data = file.read()
    for section in elf_sections(data):
        if section.name == ".nv_fatbin":
            for elf in cubins_of(data[section.offset:section.offset + section.size], path):
                yield from kernels_of_cubin(elf)


def instructions(kernel):
    """Each instruction as one number of 128 bits."""
    for at in range(0, len(kernel.code), INSTRUCTION_BYTES):
        yield int.from_bytes(kernel.code[at:at + INSTRUCTION_BYTES], "little")


def opcodes(kernel):
    return collections.Counter(word & OPCODE_MASK for word in instructions(kernel))


def source_name(mangled):
    """The last part of an Itanium name that is an identifier: that of the function, <its argument> behind it."""
    names, at = [], 2 + (mangled[2:3] == "N")
    while match := re.match(r"\d+", mangled[at:]):
        begin = at + len(match.group())
        at = begin + int(match.group())
        names.append(mangled[begin:at])
    if not (mangled.startswith("_Z") and names):
        return mangled
    argument = re.match(r"INS\w*?_(\d+)", mangled[at:])
    if not argument:
        return names[-1]
    begin = at + argument.end()
    return f"{names[-1]}<{mangled[begin : begin + int(argument.group(1))]}>"
