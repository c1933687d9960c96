<?php
// A login on plain PHP with a front controller: paths in any spelling, overrides, `$_REQUEST` (with the cookies, as PHP without a
// php.ini has it), and a JSON body under any type.
require __DIR__ . '/../record.php';
header('x-backend: php');
$url = $_SERVER['HTTP_X_ORIGINAL_URL'] ?? $_SERVER['HTTP_X_REWRITE_URL'] ?? $_SERVER['REQUEST_URI'];
$path = strtolower(rawurldecode(explode('?', $url)[0]));
$path = preg_replace('~;[^/]*~', '', $path);
$path = preg_replace('~^/index\.php~', '', $path);
$path = preg_replace('~/+~', '/', str_replace('\\', '/', $path));
$path = preg_replace('~\.(json|html|php)$~', '', rtrim($path, "/ \t\r\n"));
if (trim($path) !== '/api/login') {
    http_response_code(404);
    echo 'not found';
    return;
}
$given = $_REQUEST;
if (!isset($given['email'], $given['password'])) {
    $body = json_decode(file_get_contents('php://input'), true);
    $given = (is_array($body) ? $body : []) + $given;
}
answer($given['email'] ?? null, $given['password'] ?? null);
