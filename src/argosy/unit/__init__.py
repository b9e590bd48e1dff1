"""Unit files: text in, meaning out; nothing here touches the outside world."""
