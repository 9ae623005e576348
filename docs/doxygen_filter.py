#!/usr/bin/env python3
"""Doxygen's input filter: writes the C header given to stdout with its plain comments in the form that Doxygen reads.

A comment that begins its line tells about what follows it, one after code about that code: all members that the code
declares, of which Doxygen by itself takes the last alone. The header's first comment becomes the main page, its section
lines become groups. Lines keep their numbers, so that warnings tell the right ones.
"""
import re
import sys

FIRST = re.compile(r"\A/\* ")
SECTION = re.compile(r"\n\n/\* -+ (.+?) -+ \*/\n\n")
# `const void *a, *b; /* about both */`
SEVERAL = re.compile(r"^( *)((?:const )?\w+ )([^;,(){}\n]+,[^;(){}\n]+); *(/\*(?:[^*]|\*(?!/))*\*/)", re.MULTILINE)
COMMENT = re.compile(r"^([^\n]*?)/\*(?!\*)(.*?)\*/", re.DOTALL | re.MULTILINE)


def one_member_each(match):
    indent, kind, names, comment = match.groups()
    on_one_line = " ".join(re.sub(r"^ *\* ", "", line).strip() for line in comment.split("\n"))
    members = [f"{kind}{name.strip()}; " for name in names.split(",")]
    return indent + "".join(member + on_one_line.replace("/*", "/**<") + " " for member in members[:-1]) + members[-1] + comment


def groups(text):
    """The sections as groups, each to the beginning of the next."""
    sections = SECTION.split(text)
    text = sections[0]
    for number, (title, content) in enumerate(zip(sections[1::2], sections[2::2])):
        end = "/** @} */" if number else ""
        text += f"\n{end}\n/** @defgroup section{number} {title}\n@{{ */\n{content}"
    return text + "/** @} */\n" if len(sections) > 1 else text


def main():
    with open(sys.argv[1], encoding="utf-8") as file:
        text = file.read()
    text = SEVERAL.sub(one_member_each, groups(FIRST.sub("/** @mainpage ", text)))
    sys.stdout.write(COMMENT.sub(lambda match: f"{match[1]}/**{'<' if match[1].strip() else ''}{match[2]}*/", text))


if __name__ == "__main__":
    main()
