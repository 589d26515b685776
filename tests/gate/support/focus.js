// Whether the element that has the focus looks as if it had it: an outline, or a shadow in place of one.
const style = getComputedStyle(document.activeElement);
return (style.outlineStyle !== "none" && style.outlineWidth !== "0px") || style.boxShadow !== "none";
