// Browsers leave strict cookies out when a link of another site leads here. What the page itself asks for has them.
location.reload();
